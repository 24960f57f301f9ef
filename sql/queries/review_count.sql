-- The strings of a release with counts: objects and patients that have them, one example, and whether they are new.
-- One aggregate over all, and no join between aggregates: of what was written a moment ago nothing is known of how many
-- they are, and a plan for one row would look each string up among all others.
insert into review_string (release_id, string_id, objects, patients, example, is_new)
with kind as materialized (
    select s.set_id, o.columns ->> 'patient' as patient, count(*) as objects, min(s.sop_instance_uid) as example
      from released_strings s
      join released_object o on o.release_id = s.release_id and o.sop_instance_uid = s.sop_instance_uid
                            and o.kind = 'dicom' and o.sha256 = s.sha256
     where s.release_id = %(release_id)s and o.uploaded_at is not null
     group by s.set_id, o.columns ->> 'patient'
)
select %(release_id)s, string_id, sum(k.objects), count(distinct k.patient), min(k.example),
       string_id not in (select b.string_id
                           from release mine
                           join release before on before.project = mine.project and before.published_at is not null
                                              and before.release_id <> mine.release_id
                           join review_string b on b.release_id = before.release_id
                          where mine.release_id = %(release_id)s)
  from kind k
  join retained_set t using (set_id)
 cross join lateral unnest(t.strings) as string_id
 group by string_id
