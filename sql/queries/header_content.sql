-- The bytes of the headers of an instance's block, and which of them is the instance's.
select b.content, d.content as dictionary, case when b.template_id is not null then b.elements end as own, i.block_position
  from instance i
  join header_block b using (block_id)
  left join header_dictionary d using (dictionary_id)
 where i.sop_instance_uid = %(uid)s
