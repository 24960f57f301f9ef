-- How far a window has come: counts at each step of the ledger. Parameter: window_key.
select * from window_funnel where window_key = %(window_key)s
