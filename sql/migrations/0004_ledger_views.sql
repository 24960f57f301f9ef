-- Status is computed here and nowhere else.

-- One row per window and instance: when each step happened, null where it did not.
create view instance_ledger as
    select m.window_key,
           m.sop_instance_uid,
           coalesce(e.study_instance_uid, r.study_instance_uid)   as study_instance_uid,
           coalesce(e.series_instance_uid, r.series_instance_uid) as series_instance_uid,
           coalesce(s.modality, e.modality)                       as modality,
           e.expected_at,
           r.received_at,
           i.indexed_at,
           q.checked_at,
           p.predicted_at,
           o.released_at,
           r.receipt_id
      from window_member m
      left join expectation e on e.window_key = m.window_key and e.sop_instance_uid = m.sop_instance_uid
      left join receipt r  on r.sop_instance_uid = m.sop_instance_uid
      left join instance i on i.sop_instance_uid = m.sop_instance_uid
      left join series s   on s.series_instance_uid = i.series_instance_uid
      left join quality_check q on q.sop_instance_uid = m.sop_instance_uid
      left join lateral (select min(predicted_at) as predicted_at
                           from prediction where prediction.sop_instance_uid = m.sop_instance_uid) p on true
      left join lateral (select min(release.published_at) as released_at
                           from released_object join release using (release_id)
                          where released_object.sop_instance_uid = m.sop_instance_uid
                            and release.published_at is not null) o on true;

-- Every open gap with the newest reason noted, else the reason that follows from the facts.
create view open_gap as
    with step_gap as (
        select l.window_key, l.sop_instance_uid, l.study_instance_uid, l.series_instance_uid, l.modality, missing.step
          from instance_ledger l
          cross join lateral (values ('received',  l.received_at is null),
                                     ('indexed',   l.received_at is not null and l.indexed_at is null),
                                     ('checked',   l.indexed_at is not null and l.checked_at is null),
                                     ('predicted', l.indexed_at is not null and l.predicted_at is null),
                                     ('released',  l.indexed_at is not null and l.released_at is null)
                             ) as missing(step, is_open)
         where missing.is_open
    )
    select g.window_key, g.sop_instance_uid, g.study_instance_uid, g.series_instance_uid, g.modality, g.step,
           coalesce(noted.reason_code,
                    case g.step when 'received'  then 'not-asked'
                                when 'indexed'   then 'not-indexed-yet'
                                when 'checked'   then 'not-checked-yet'
                                when 'predicted' then case when g.modality in ('CR', 'DX') then 'not-predicted-yet'
                                                           else 'not-a-radiograph' end
                                else 'not-released-yet' end) as reason_code,
           noted.detail,
           noted.noted_at
      from step_gap g
      left join lateral (select reason_code, detail, noted_at
                           from gap
                          where gap.sop_instance_uid = g.sop_instance_uid and gap.step = g.step
                          order by gap_id desc limit 1) noted on true;

create view window_funnel as
    select window_key,
           count(distinct study_instance_uid)                                          as studies,
           count(distinct series_instance_uid)                                         as series,
           count(*)                                                                    as members,
           count(expected_at)                                                          as expected,
           count(received_at)                                                          as received,
           count(*) filter (where expected_at is not null and received_at is not null) as expected_and_received,
           count(indexed_at)                                                           as indexed,
           count(checked_at)                                                           as checked,
           count(predicted_at)                                                         as predicted,
           count(released_at)                                                          as released
      from instance_ledger
     group by window_key;
