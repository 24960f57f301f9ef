-- Opt-outs, newest first. Parameter: all, whether those that are over or withdrawn are listed too.
select o.*, w.withdrawn_by, w.withdrawn_at,
       exists (select from opt_out_in_force f where f.opt_out_id = o.opt_out_id) as in_force,
       (select count(*) from recall_object ro join recall_cause k using (recall_id)
         where k.opt_out_id = o.opt_out_id)                                      as recalled_objects
  from opt_out o
  left join opt_out_withdrawal w using (opt_out_id)
 where %(all)s or exists (select from opt_out_in_force f where f.opt_out_id = o.opt_out_id)
 order by o.opt_out_id desc
