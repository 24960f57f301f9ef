-- What the pile of a kind can be narrowed to, and how much waits. Parameter: kind.
select (select count(*) from (select distinct key, source_tag from anatomy_pile where kind = %(kind)s and series > 0) t) as texts,
       array(select distinct modality from anatomy_pile where kind = %(kind)s and series > 0 order by 1) as modalities,
       array(select distinct station_name from anatomy_pile where kind = %(kind)s and series > 0 order by 1 limit 500) as stations,
       array(select distinct source_tag from anatomy_pile where kind = %(kind)s and series > 0 order by 1) as source_tags
