-- What each reason code means and what a person can do about it.
select reason_code, step, meaning, advice from reason order by step, reason_code
