-- The newest dictionary of each kind of header.
select distinct on (kind) dictionary_id, kind, content from header_dictionary order by kind, made_at desc
