-- How many films stand where. Parameter: task.
select standing, count(*) as films from annotation_verdict where task = %(task)s group by standing order by standing
