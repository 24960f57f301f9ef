-- What was released of a window, newest first. Parameter: window_key.
select r.release_id, r.project, r.version, r.bucket, r.prefix, r.started_at, r.published_at,
       r.manifest_key, r.manifest_sha256, r.member_digest,
       (select count(*) from release_member m where m.release_id = r.release_id) as members,
       o.objects, o.verified, o.bytes, h.held
  from release r
  cross join lateral (select count(uploaded_at) filter (where kind = 'dicom') as objects,
                             count(verified_at) filter (where kind = 'dicom') as verified,
                             coalesce(sum(bytes), 0)::bigint as bytes
                        from released_object o
                       where o.release_id = r.release_id) o
  cross join lateral (select coalesce(jsonb_agg(jsonb_build_object('instances', m.instances, 'meaning', reason.meaning)
                                                order by m.instances desc, reason.reason_code), '[]') as held
                        from (select held_reason, count(*) as instances
                                from release_member
                               where release_id = r.release_id and held_reason is not null
                               group by held_reason) m
                        join reason on reason.reason_code = m.held_reason) h
 where r.window_key = %(window_key)s
 order by r.started_at desc, r.release_id desc
