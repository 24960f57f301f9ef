-- What is known of the pixels of instances that are about to leave: a row for each. A series of slices is known by its
-- sample, which must be complete.
with asked as (
    select sop_instance_uid, series_instance_uid, sop_class_uid, sop_class_uid = any(%(slices)s) as is_slice
      from instance
     where sop_instance_uid = any(%(uids)s)
), slice as (
    select i.sop_instance_uid, i.series_instance_uid,
           row_number() over (partition by i.series_instance_uid order by i.instance_number, i.sop_instance_uid) - 1 as n,
           count(*) over (partition by i.series_instance_uid) as slices
      from instance i
     where i.sop_class_uid = any(%(slices)s)
       and i.series_instance_uid in (select series_instance_uid from asked where is_slice)
), sample as (
    select s.series_instance_uid,
           bool_and(p.sop_instance_uid is not null) as is_complete,
           case when bool_and(p.failed is not null) then min(p.failed) end as failed  -- one broken slice says nothing
      from slice s
      left join pixel_screening p on p.sop_instance_uid = s.sop_instance_uid and p.screener = %(screener)s
     where s.n in (0, s.slices / 2, s.slices - 1) or s.n %% %(one_in)s = 0
     group by s.series_instance_uid
), text_of_series as (
    -- A computer writes into all pictures of a series at the same place; lead lies on one film.
    select distinct i.series_instance_uid, p.image_rows, p.image_columns,
           t.box_left, t.box_top, t.box_width, t.box_height
      from instance i
      join pixel_screening p on p.sop_instance_uid = i.sop_instance_uid and p.screener = %(screener)s
      join pixel_text t on t.sop_instance_uid = p.sop_instance_uid and t.screener = p.screener and not t.is_marker
     where i.sop_class_uid <> all(%(films)s)
       and i.series_instance_uid in (select series_instance_uid from asked)
)
select a.sop_instance_uid,
       case when a.is_slice then coalesce(sample.is_complete, false)
            else own.sop_instance_uid is not null end as is_complete,
       coalesce(own.failed, sample.failed) as failed,
       h.region_key,
       array(select array[t.box_left, t.box_top, t.box_width, t.box_height]
               from pixel_text t
              where t.sop_instance_uid = a.sop_instance_uid and t.screener = %(screener)s and not t.is_marker
             union
             select array[t.box_left, t.box_top, t.box_width, t.box_height]
               from text_of_series t
              where t.series_instance_uid = a.series_instance_uid and a.sop_class_uid <> all(%(films)s)
                and (own.sop_instance_uid is null
                     or (t.image_rows, t.image_columns) = (own.image_rows, own.image_columns))
              order by 1) as boxes
  from asked a
  left join pixel_screening own on own.sop_instance_uid = a.sop_instance_uid and own.screener = %(screener)s
  left join sample on sample.series_instance_uid = a.series_instance_uid and a.is_slice
  left join header_anatomy h on h.series_instance_uid = a.series_instance_uid
