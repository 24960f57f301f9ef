-- Radiographs of a window, cut into pieces by receipt. Parameters: window_key or * for the whole archive, size.
select min(receipt_id) as first, max(receipt_id) as last, count(*) as count
  from (select r.receipt_id, (row_number() over (order by r.receipt_id) - 1) / %(size)s as piece
          from receipt r
          join instance i on i.sop_instance_uid = r.sop_instance_uid
          join series s on s.series_instance_uid = i.series_instance_uid
         where s.modality in ('CR', 'DX')
           and (%(window_key)s = '*'
                or r.sop_instance_uid in (select sop_instance_uid from window_member
                                           where window_key = %(window_key)s))) numbered
 group by piece
 order by piece
