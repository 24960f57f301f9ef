-- Every instance of a window with what happened to it. Parameter: window_key.
select sop_instance_uid,
       series_instance_uid,
       study_instance_uid,
       expected_at  is not null as expected,
       received_at  is not null as received,
       indexed_at   is not null as indexed,
       checked_at   is not null as checked,
       predicted_at is not null as predicted,
       released_at  is not null as released
  from instance_ledger
 where window_key = %(window_key)s
