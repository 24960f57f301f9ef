-- A series of one image has none before it to share its JSON with: such a block keeps only what it says otherwise than
-- most headers of its kind. What those say alike stands here once; see sluice.headers.templates. Blocks that were
-- written before stay whole.
create table header_template (
    template_id bigint primary key,               -- follows from kind and content
    kind        text not null,
    written     text not null,                    -- the elements as the parser wrote them, a line each
    elements    jsonb not null generated always as (written::jsonb) stored,
    made_at     timestamptz not null default now()
);

alter table header_block rename column shared to elements;
alter table header_block add column template_id bigint references header_template;
alter table header_block add column lacks text[];  -- elements of the template that the block has not, or not alike
-- Filters read `cohort_block` since 0020; a block of one image, some 1.8 KB, is smaller in one piece.
alter table header_block reset (toast_tuple_target);
comment on column header_block.elements is
    'DICOM JSON of what is alike; with a template, of what it does not say. b.shared is the whole.';

create function of_template(asked_template bigint, own jsonb, lacking text[]) returns jsonb
language sql stable parallel safe as $$
    select (elements - coalesce(lacking, '{}')) || own from header_template where template_id = asked_template
$$;
create function of_template(asked_template bigint, asked_tag text) returns jsonb language sql stable parallel safe as $$
    select elements -> asked_tag from header_template where template_id = asked_template
$$;

-- What all instances of a block have alike, whole. Written `b.shared`, as if it were a column; planned as one where there
-- is no template.
create function shared(b header_block) returns jsonb language sql stable parallel safe as $$
    select case when b.template_id is null then b.elements else of_template(b.template_id, b.elements, b.lacks) end
$$;
-- One element of that, without putting the whole together: quicker than `b.shared -> tag`.
create function shared_element(b header_block, asked_tag text) returns jsonb language sql stable parallel safe as $$
    select case when b.template_id is null or b.elements ? asked_tag then b.elements -> asked_tag
                when asked_tag = any (b.lacks) then null
                else of_template(b.template_id, asked_tag) end
$$;

create or replace function header_element(asked_block bigint, asked_position integer, asked_tag text) returns jsonb
language sql stable parallel safe as $$
    select coalesce((select shared_element(b, asked_tag) from header_block b where b.block_id = asked_block),
                    (select nullif(elements -> asked_position, 'null') from header_difference
                      where block_id = asked_block and tag = asked_tag))
$$;

create or replace function header_elements(asked_tag text, asked_blocks bigint[])
returns table (block_id bigint, block_position integer, element jsonb)
language sql stable parallel safe as $$
    select b.block_id, null::integer, e.element
      from header_block b
      cross join lateral (select shared_element(b, asked_tag) as element offset 0) e
     where b.block_id = any (asked_blocks) and e.element is not null
    union all
    select d.block_id, (e.ordinality - 1)::integer, e.value
      from header_difference d
      cross join lateral jsonb_array_elements(d.elements) with ordinality e
     where d.tag = asked_tag and d.block_id = any (asked_blocks) and e.value <> 'null'
$$;
