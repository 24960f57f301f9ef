-- Texts that wait for a word, most frequent first. Parameters: kind; modality, station, source_tag, null for all;
-- after_series, after_key, after_tag of the last row before (null, '', '' for the first page); page_size.
with waiting as (
    select p.key, p.source_tag, sum(p.series)::bigint as series
      from anatomy_pile p
     where p.kind = %(kind)s and p.series > 0
       and (%(modality)s::text is null or p.modality = %(modality)s)
       and (%(station)s::text is null or p.station_name = %(station)s)
       and (%(source_tag)s::text is null or p.source_tag = %(source_tag)s)
       and not exists (select from anatomy_mapping m
                        where m.kind = p.kind and m.key = p.key and m.withdrawn_at is null
                          and (m.source_tag is null or m.source_tag = p.source_tag)
                          and (m.station_name is null or m.station_name = p.station_name)
                          and m.manufacturer is null)
     group by p.key, p.source_tag
),
shown as (
    select * from waiting
     where %(after_series)s::bigint is null or series < %(after_series)s::bigint
        or (series = %(after_series)s::bigint and (key, source_tag) > (%(after_key)s::text, %(after_tag)s::text))
     order by series desc, key, source_tag
     limit %(page_size)s
)
select s.key, s.source_tag, s.series, more.*
  from shown s
 cross join lateral (select min(p.said) as said, max(p.last_seen) as last_seen,
                            array_agg(distinct p.modality) as modalities,
                            (array_agg(distinct p.station_name))[1:8] as stations,
                            count(distinct p.station_name) as scanners
                       from anatomy_pile p
                      where p.kind = %(kind)s and p.key = s.key and p.source_tag = s.source_tag and p.series > 0
                        and (%(modality)s::text is null or p.modality = %(modality)s)
                        and (%(station)s::text is null or p.station_name = %(station)s)) more
 order by s.series desc, s.key, s.source_tag
