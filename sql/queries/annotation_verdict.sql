-- Where a film stands for a task. Parameters: task, sop_instance_uid.
select * from annotation_verdict where task = %(task)s and sop_instance_uid = %(sop_instance_uid)s
