-- What each reader said last of the films that several read. Parameter: task.
select n.sop_instance_uid, n.reader, n.label, n.examined
  from annotation_now n
 where n.task = %(task)s
   and exists (select from annotation_now other where other.task = n.task
                and other.sop_instance_uid = n.sop_instance_uid and other.reader <> n.reader)
 order by n.sop_instance_uid, n.reader
