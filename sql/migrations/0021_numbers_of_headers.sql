-- A header may hold a decimal string of three hundred digits and an exponent. As a double it is out of range, and that
-- one header ended every filter on its element with an error. jsonb writes numbers out in full, so length tells.
create or replace function json_number(written jsonb) returns double precision
language sql immutable strict parallel safe as $$
    select case jsonb_typeof(written)
                when 'number' then case when length(written #>> '{}') <= 300 then (written #>> '{}')::double precision end
                when 'string' then case when btrim(written #>> '{}') ~ '^[+-]?([0-9]{1,99}(\.[0-9]{0,99})?|\.[0-9]{1,99})([eE][+-]?[0-9]{1,2})?$'
                                        then btrim(written #>> '{}')::double precision end end
$$;
