-- What the latest audited films of each source and station showed: how many of those that the network was sure of, and
-- how many of these it named another region for. Parameter: latest, films looked back at.
select source_tag, station_name, count(*) as audited, count(*) filter (where model_region <> region_key) as differing
  from (select h.*, row_number() over (partition by source_tag, station_name order by decided_at desc) as place
          from header_answer h
         where audited and model_confident) h
 where place <= %(latest)s
 group by source_tag, station_name
 order by source_tag, station_name
