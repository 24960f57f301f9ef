-- What the pile of a kind can be narrowed to, and how much waits. Parameter: kind.
with waiting as (
    select key, source_tag, modality, station_name from anatomy_pile where kind = %(kind)s and series > 0
)
select (select count(*) from (select from waiting group by key, source_tag) texts) as texts,
       array(select modality from waiting group by 1 order by 1) as modalities,
       array(select station_name from waiting group by 1 order by 1 limit 500) as stations,
       array(select source_tag from waiting group by 1 order by 1) as source_tags
