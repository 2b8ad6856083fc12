# shellcheck shell=bash
#
# The data of the departures board, store by store: what the demo imports and what the
# guest expects (src/keys.rs reads the same keys).
#
#   store     rows below the CSV's header
#             the key's fields, packed left to right
#             columns that stay text, whatever they look like
#
# shellcheck disable=SC2034 # used by the scripts that source this file
FLIGHTS_STORES=(
    airlines 16
    'carrier:t2'
    'carrier,name'

    airports 1458
    'faa:t3'
    'faa,name,dst,tzone'

    planes 3322
    'tailnum:t6'
    'tailnum,type,manufacturer,model,engine'

    weather 26115
    'origin:t3,time_hour:s48'
    'origin,time_hour'

    flights 336776
    'year:u16,month:u8,day:u8,sched_dep_time:u16,carrier:t2,flight:u16,origin:t3'
    'carrier,tailnum,origin,dest,time_hour'
)
