-- Every open gap of a window, one row per instance and step. Parameter: window_key.
select sop_instance_uid, step, reason_code from open_gap where window_key = %(window_key)s
