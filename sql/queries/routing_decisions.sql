-- Decisions with what came of them, newest first. Parameters: study, null for all; before, the last decision_id of the
-- page before or null; page_size.
select d.decision_id, d.rule, d.destination, d.sop_instance_uid, d.study_instance_uid, d.rests_on, d.window_key,
       d.decided_at, d.rules_sha256, a.outcome, a.detail, a.at as acted_at
  from routing_decision d
  left join lateral (select outcome, detail, at from routing_action a
                      where a.decision_id = d.decision_id order by a.action_id desc limit 1) a on true
 where (%(study)s::text is null or d.study_instance_uid = %(study)s)
   and (%(before)s::bigint is null or d.decision_id < %(before)s)
 order by d.decision_id desc
 limit %(page_size)s
