-- Everything in which the instances of a block agree, and in which they differ.
select b.shared, (select jsonb_object_agg(tag, elements) from header_difference where block_id = %(block_id)s) as differences
  from header_block b where b.block_id = %(block_id)s
