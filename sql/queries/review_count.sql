-- The strings of a release with counts: objects and patients that have them, one example, and whether they are new.
insert into review_string (release_id, string_id, objects, patients, example, is_new)
with object as materialized (
    select s.set_id, s.sop_instance_uid, o.columns ->> 'patient' as patient
      from released_strings s
      join released_object o on o.release_id = s.release_id and o.sop_instance_uid = s.sop_instance_uid
                            and o.kind = 'dicom' and o.sha256 = s.sha256
     where s.release_id = %(release_id)s and o.uploaded_at is not null
), per_set as (
    select set_id, count(*) as objects, min(sop_instance_uid) as example from object group by set_id
), counted as (
    select string_id, sum(objects) as objects, min(example) as example
      from per_set join retained_set using (set_id) cross join lateral unnest(strings) as string_id
     group by string_id
), patients as (
    select string_id, count(distinct patient) as patients
      from (select distinct set_id, patient from object) pairs
      join retained_set using (set_id) cross join lateral unnest(strings) as string_id
     group by string_id
), seen as (
    select distinct b.string_id
      from release mine
      join release before on before.project = mine.project and before.published_at is not null
                         and before.release_id <> mine.release_id
      join review_string b on b.release_id = before.release_id
     where mine.release_id = %(release_id)s
)
select %(release_id)s, c.string_id, c.objects, p.patients, c.example, seen.string_id is null
  from counted c
  join patients p using (string_id)
  left join seen using (string_id)
