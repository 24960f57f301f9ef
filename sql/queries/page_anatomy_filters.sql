-- What the pile of a kind can be narrowed to, and how much waits. Parameter: kind.
with waiting as (
    select p.key, p.source_tag, p.modality, p.station_name
      from anatomy_pile p
     where p.kind = %(kind)s and p.series > 0
       and not exists (select from anatomy_mapping m
                        where m.kind = p.kind and m.key = p.key and m.withdrawn_at is null
                          and (m.source_tag is null or m.source_tag = p.source_tag)
                          and (m.station_name is null or m.station_name = p.station_name)
                          and m.manufacturer is null)
)
select (select count(*) from (select from waiting group by key, source_tag) texts) as texts,
       array(select modality from waiting group by 1 order by 1) as modalities,
       array(select station_name from waiting group by 1 order by 1 limit 500) as stations,
       array(select source_tag from waiting group by 1 order by 1) as source_tags
