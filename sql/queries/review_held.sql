-- Members of a release that are held, by reason and detail, most first.
select m.held_reason as reason_code, m.held_detail as detail, count(*) as number, reason.meaning, reason.advice
  from release_member m join reason on reason.reason_code = m.held_reason
 where m.release_id = %(release_id)s
 group by 1, 2, 4, 5
 order by number desc, 1, 2
 limit 200
