-- What happened to a model, newest first. Parameter: model_id.
select event, by, reason, detail, at
  from model_event
 where model_id = %(model_id)s
 order by event_id desc
