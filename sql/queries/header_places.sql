-- Where the headers of instances are.
select sop_instance_uid, block_id, block_position from instance where sop_instance_uid = any (%(uids)s) and block_id is not null
