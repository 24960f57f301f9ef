-- Where the canonical image of an instance stands. Parameter: sop_instance_uid.
select path from canonical_image where sop_instance_uid = %(sop_instance_uid)s
