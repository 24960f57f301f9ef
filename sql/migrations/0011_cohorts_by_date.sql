-- The nightly sweep of a day asks what became of the studies that a cohort found under that date.
create index on found_study (pacs, (answer #>> '{00080020,Value,0}')) where window_key like 'cohort/%';
