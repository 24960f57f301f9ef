-- One picture. Parameters: release_id, sop_instance_uid.
select jpeg from release_thumbnail where release_id = %(release_id)s and sop_instance_uid = %(sop_instance_uid)s
