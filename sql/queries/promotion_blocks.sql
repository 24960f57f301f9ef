-- The next blocks whose instances lack a promoted column, with the elements of some groups (four hex digits each).
select b.block_id, b.instances,
       (select jsonb_object_agg(key, value) from jsonb_each(b.shared) where left(key, 4) = any (%(groups)s)) as shared,
       (select jsonb_object_agg(tag, elements) from header_difference d
         where d.block_id = b.block_id and left(tag, 4) = any (%(groups)s)) as differences
  from header_block b
 where b.block_id > (select filled_to from promoted_column where name = %(name)s for update)
 order by b.block_id
 limit %(most)s
