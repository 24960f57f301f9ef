-- A cohort may be asked for under one of several profiles of its project: which of them a release was prepared with.
alter table release add column preset text;   -- null: before there was a choice; the project's own
