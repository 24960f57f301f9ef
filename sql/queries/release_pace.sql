-- How fast the latest releases were de-identified, uploaded and read back.
select count(*) as releases, coalesce(sum(bytes), 0)::bigint as bytes,
       coalesce(sum(seconds), 0)::float8 as seconds
  from (select r.release_id, sum(o.bytes) as bytes, extract(epoch from r.verified_at - r.started_at) as seconds
          from (select release_id, verified_at, started_at from release
                 where published_at is not null and verified_at > started_at
                 order by release_id desc limit 20) r
          join released_object o using (release_id)
         group by r.release_id, r.verified_at, r.started_at) past
