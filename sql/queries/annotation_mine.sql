-- A reader's answers, the newest first: where each film stands, what others said of it, and whether it may be taken back:
-- the newest, or one that nobody else has read and nobody decided. Never of whom nobody may use.
-- Parameters: task, reader, most (null: all).
with said as (
    select n.*, n.annotation_id = (select max(a.annotation_id) from annotation a
                                    where a.task = %(task)s and a.reader = %(reader)s) as is_newest
      from annotation_now n
     where n.task = %(task)s and n.reader = %(reader)s
       and n.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
)
select s.sop_instance_uid, s.label, s.examined, s.visible, s.comment, s.accepted, s.decided_at, s.is_newest, v.standing,
       v.label as decided_label, v.examined as decided_examined, coalesce(o.others, '[]') as others,
       v.standing <> 'adjudicated' and (s.is_newest or v.readers = 1) as may_withdraw
  from said s
  join annotation_verdict v using (task, sop_instance_uid)
  left join lateral (select jsonb_agg(jsonb_build_object('reader', n.reader, 'label', n.label, 'examined', n.examined)
                                      order by n.reader) as others
                       from annotation_now n
                      where n.task = s.task and n.sop_instance_uid = s.sop_instance_uid and n.reader <> s.reader) o on true
 order by s.annotation_id desc
 limit %(most)s
