-- One window, where it is known. Parameter: window_key.
select window_key, kind, starts_on, ends_on from sweep_window where window_key = %(window_key)s
