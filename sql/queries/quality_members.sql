-- The members of a window for the queries of the quality levels, in a temporary table whose size the planner knows.
-- Those queries reach `instance` by `lateral ... offset 0`: by its keys, however few or many the estimates think they are.
create temporary table quality_member on commit drop as
select sop_instance_uid, study_instance_uid, series_instance_uid, expected_at, received_at, indexed_at
  from ledger_of_window(%(window_key)s);
analyze quality_member;
