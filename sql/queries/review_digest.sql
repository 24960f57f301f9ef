-- What an approval is given to, as values that a digest is made of.
select r.project, r.version, r.member_digest, r.profile,
       (select encode(sha256(convert_to(coalesce(string_agg(object_key || ' ' || sha256, E'\n'
                                                            order by object_key collate "C"), ''), 'UTF8')), 'hex')
          from released_object o
         where o.release_id = r.release_id and o.uploaded_at is not null) as objects,
       (select coalesce(jsonb_agg(jsonb_build_array(s.digest, u.path, u.decision)
                                  order by s.digest collate "C", u.path collate "C", u.decision), '[]')
          from standing_rule u left join retained_string s using (string_id)
         where (u.project is null or u.project = r.project) and u.decision in ('remove', 'hold')) as decisions
  from release r
 where r.release_id = %(release_id)s
