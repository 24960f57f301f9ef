-- Mappings, newest first, with how many series each decides now. Parameters: before (mapping id) or null, page_size.
select m.*, (select count(*) from header_anatomy a where m.mapping_id in (a.mapping_id, a.phase_mapping_id)) as decides
  from anatomy_mapping m
 where %(before)s::bigint is null or m.mapping_id < %(before)s
 order by m.mapping_id desc
 limit %(page_size)s
