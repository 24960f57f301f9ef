-- Texts that wait for a word, most frequent first. Parameters: kind; modality, station, source_tag, null for all;
-- after_series, after_key, after_tag of the last row before (null, '', '' for the first page); page_size.
with waiting as (
    select p.key, p.source_tag, min(p.said) as said, sum(p.series)::bigint as series, max(p.last_seen) as last_seen,
           array_agg(distinct p.modality) as modalities, array_agg(distinct p.station_name) as stations
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
)
select key, source_tag, said, series, last_seen, modalities, stations[1:8] as stations, cardinality(stations) as scanners
  from waiting
 where %(after_series)s::bigint is null
    or (series, %(after_key)s::text, %(after_tag)s::text) < (%(after_series)s::bigint, key, source_tag)
 order by series desc, key, source_tag
 limit %(page_size)s
