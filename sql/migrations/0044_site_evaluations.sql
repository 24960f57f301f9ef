-- Models are measured on films of this site, too: those that people confirmed, of patients who never train. An evaluation
-- on fewer than are asked for has no metrics and no answers, and says how many there are.
alter table model_evaluation
    add column films_of text not null default 'shipped' check (films_of in ('shipped', 'site'));
drop index model_evaluation_model_id_evaluation_id_idx;
create index on model_evaluation (model_id, films_of, evaluation_id desc);
