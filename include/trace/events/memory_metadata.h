/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM memory_metadata

#if !defined(_TRACE_MEMORY_METADATA_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MEMORY_METADATA_H

#include <linux/memory_metadata.h>
#include <linux/mm.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(METADATA_WAY_SHARED);
TRACE_DEFINE_ENUM(METADATA_WAY_BUDDY);
TRACE_DEFINE_ENUM(METADATA_WAY_MOVED);
TRACE_DEFINE_ENUM(METADATA_WAY_CONTIG);

#define show_metadata_way(way)						\
	__print_symbolic(way,						\
		{ METADATA_WAY_SHARED,	"shared" },			\
		{ METADATA_WAY_BUDDY,	"buddy" },			\
		{ METADATA_WAY_MOVED,	"moved" },			\
		{ METADATA_WAY_CONTIG,	"contig" })

/* A page got hold of its storage, or did not; by the way tried last. */
TRACE_EVENT(metadata_reserve,
	    TP_PROTO(unsigned long pfn, unsigned long storage_pfn,
		     enum metadata_way way, int ret),
	    TP_ARGS(pfn, storage_pfn, way, ret),

	    TP_STRUCT__entry(__field(unsigned long, pfn)
			     __field(unsigned long, storage_pfn)
			     __field(int, way)
			     __field(int, ret)),

	    TP_fast_assign(__entry->pfn = pfn;
			   __entry->storage_pfn = storage_pfn;
			   __entry->way = way;
			   __entry->ret = ret;),

	    TP_printk("pfn=0x%lx storage_pfn=0x%lx way=%s ret=%d",
		      __entry->pfn, __entry->storage_pfn,
		      show_metadata_way(__entry->way), __entry->ret)
);

/* Storage goes back to the page allocator. */
TRACE_EVENT(metadata_release,
	    TP_PROTO(unsigned long storage_pfn, unsigned long nr),
	    TP_ARGS(storage_pfn, nr),

	    TP_STRUCT__entry(__field(unsigned long, storage_pfn)
			     __field(unsigned long, nr)),

	    TP_fast_assign(__entry->storage_pfn = storage_pfn;
			   __entry->nr = nr;),

	    TP_printk("storage_pfn=0x%lx nr=%lu",
		      __entry->storage_pfn, __entry->nr)
);

/* A fault on a metadata-none entry that maps nr pages is over. */
TRACE_EVENT(metadata_none_fault,
	    TP_PROTO(unsigned long address, unsigned long pfn, unsigned long nr,
		     vm_fault_t ret),
	    TP_ARGS(address, pfn, nr, ret),

	    TP_STRUCT__entry(__field(unsigned long, address)
			     __field(unsigned long, pfn)
			     __field(unsigned long, nr)
			     __field(unsigned long, ret)),

	    TP_fast_assign(__entry->address = address;
			   __entry->pfn = pfn;
			   __entry->nr = nr;
			   __entry->ret = (__force unsigned long)ret;),

	    TP_printk("address=0x%lx pfn=0x%lx nr=%lu ret=%s",
		      __entry->address, __entry->pfn, __entry->nr,
		      __print_flags(__entry->ret, "|", VM_FAULT_RESULT_TRACE))
);

#endif /* _TRACE_MEMORY_METADATA_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
