-- Films whose label their neighbours contradict and that nobody has looked at since, the clearest first; never of whom
-- nobody may use. Parameter: most.
select d.*, i.study_instance_uid
  from label_doubt d
  join instance i using (sop_instance_uid)
 where not exists (select from annotation a where a.sop_instance_uid = d.sop_instance_uid and a.task = 'body_part'
                      and a.decided_at > d.found_at)
   and d.sop_instance_uid not in (select o.sop_instance_uid from opted_out_instance o where o.projects is null)
 order by d.share_suggested - d.share_said desc, d.sop_instance_uid
 limit %(most)s
