-- Headers are in blocks only. An instance that was indexed before has none until the next extraction of its window reads
-- its file again; its row and everything that hangs on it stay.

alter table instance drop column header;
alter table instance add check ((block_id is null) = (block_position is null));

-- What the bytes of a block's headers are compressed against, a header of the same kind; see sluice.headers.dictionaries.
create table header_dictionary (
    dictionary_id bigint primary key,             -- follows from the content
    kind          text not null,
    content       bytea not null,
    made_at       timestamptz not null default now()
);
alter table header_block add column dictionary_id bigint references header_dictionary;

-- Any element of one instance as DICOM JSON; null where it has none.
--     select header_element(block_id, block_position, '00181030') #>> '{Value,0}' from instance where …
create function header_element(asked_block bigint, asked_position integer, asked_tag text) returns jsonb
language sql stable parallel safe as $$
    select coalesce((select shared -> asked_tag from header_block where block_id = asked_block),
                    (select nullif(elements -> asked_position, 'null') from header_difference
                      where block_id = asked_block and tag = asked_tag))
$$;

-- The same for whole blocks, each read once: a row for a block where all its instances have the element alike, with a
-- null for the position; else a row for each instance that has it.
--     select i.sop_instance_uid, e.element from header_elements('00180081', array[17, 18]) e
--       join instance i on i.block_id = e.block_id and i.block_position = coalesce(e.block_position, i.block_position)
create function header_elements(asked_tag text, asked_blocks bigint[])
returns table (block_id bigint, block_position integer, element jsonb)
language sql stable parallel safe as $$
    select b.block_id, null::integer, b.shared -> asked_tag
      from header_block b
     where b.block_id = any (asked_blocks) and b.shared ? asked_tag
    union all
    select d.block_id, (e.ordinality - 1)::integer, e.value
      from header_difference d
      cross join lateral jsonb_array_elements(d.elements) with ordinality e
     where d.tag = asked_tag and d.block_id = any (asked_blocks) and e.value <> 'null'
$$;

-- Elements that people made typed columns of `instance` of; see sluice.headers.promotion.
create table promoted_column (
    name        text primary key,                 -- of the column
    path        text not null,                    -- '0018,0081', '0029,"SIEMENS CSA HEADER",10', '0054,0016/0018,1074'
    type        text not null,                    -- 'text', 'integer', 'real', 'date', 'time', 'timestamp'
    filled_to   bigint not null default 0,        -- block up to which instances have it that were indexed before
    promoted_at timestamptz not null default now(),
    filled_at   timestamptz                       -- null while instances that were indexed before may lack it
);
