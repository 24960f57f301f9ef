-- The newest template of each kind of header.
select distinct on (kind) template_id, kind, written from header_template order by kind, made_at desc
