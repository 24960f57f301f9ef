-- The last evaluation of the search strategies; no rows where there was none.
select e.evaluation_id, e.truth_name, e.truth_sha256, e.model_id, e.films, e.patients, e.evaluated_at,
       m.strategy, m.region_key, m.positives, m.found, m.hits,
       m.precision, m.recall, m.f1, m.precision_ci, m.recall_ci, m.f1_ci
  from strategy_evaluation e
  join strategy_measure m using (evaluation_id)
 where e.evaluation_id = (select max(evaluation_id) from strategy_evaluation)
 order by array_position('{header,examined,visible,union,intersection,fused}'::text[], m.strategy),
          m.region_key in ('macro', 'micro') desc, m.region_key
