-- Why each rule matters and what to do, as it was when it last ran.
select rule, level, severity, halts, why, advice from quality_rule
