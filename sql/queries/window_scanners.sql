-- Utilization and clock of each scanner of a window. Parameter: window_key.
select scanner,
       coalesce(scanner_utilization.modality, clock_offset.modality) as modality,
       exams, utilization, samples, offset_s, reference, suspected
  from (select * from scanner_utilization where window_key = %(window_key)s) scanner_utilization
  full join (select * from clock_offset where window_key = %(window_key)s) clock_offset using (window_key, scanner)
 order by scanner
