-- The newest trainings and how far they are.
select run_id, architecture, snapshot, state, step, steps, loss, model_id, started_at, updated_at
  from training_run
 order by started_at desc, architecture
 limit 20
