#include "common.h"
/* the corrected protocol: the append is the removal; at; generations in the names of o */
byte lateT; byte la, lb, lc, ls, ld2, la2; /* one request under way after its caller gave up */
byte busy[NN]; byte cr;
#ifndef NV
#define NV 2
#endif
byte nv=NV;
inline apply(n,i) { /* one local transaction: entry i == applied+1 */
  if
  :: lk[i]==BU||lk[i]==FU -> if :: IX(lt[i])!=0 && IA(lt[i])<i -> IX(lt[i])=0; IA(lt[i])=0 :: else fi
  :: lk[i]==BD||lk[i]==PD ->
     if :: IX(0)==lt[i]+1 && IA(0)<i -> IX(0)=0; IA(0)=0 :: else fi;
     if :: IX(1)==lt[i]+1 && IA(1)<i -> IX(1)=0; IA(1)=0 :: else fi;
     pend[n] = pend[n] | (1<<i)
  :: else fi;
  applied[n]=i
}
#define match(uu) (us[uu]==rs && ud[uu]==rd && ua[uu]==ra)   /* an ETag is a hash of the content */
inline insert(n,uu,dd,at) { /* local transaction, looks again */
#ifdef NORECHECK
  IX(uu)=dd+1; IA(uu)=at
#else
  if :: !dead(uu,dd,at,applied[n]) && (im || !blocked(uu,dd,applied[n])) -> IX(uu)=dd+1; IA(uu)=at :: else fi
#endif
}

#define RK u=0; d=0; k=0; g=0; rs=0; rd=0; ra=0; again=0; w=0; im=0; busy[n]=busy[n]&2
#define RR kind=0; t=0; pos=0; id=0; busy[n]=busy[n]&1
#define LATE nl>0 && lateT==0
#define WR us[u]=KEPT; ud[u]=d; ua[u]=k; INV
#define MINE rs=KEPT; rd=d; ra=k
proctype Keeper(byte n) {
  byte u, d, k, g, rs, rd, ra, again, w;
  bit im; /* an import: a block does not refuse it */
endK: { do
  :: atomic { nk>0 -> nk--; if :: u=0 :: u=1 fi; if :: d=0 :: d=1 fi; busy[n]=busy[n]|1;
#ifdef IMPORTS
       if :: im=0 :: im=1 fi;
#endif
k0:    /* own bytes under a name that died meanwhile go first */
#ifndef NOCLEAN
       if :: w && g<gen(d,applied[n]) -> O(d,g)=0; INV :: else fi;
#endif
       w=0;
       /* refused here if blocked; at and generation from one snapshot */
       if :: !im && blocked(u,d,applied[n]) -> RK; goto endK
          :: else -> k=applied[n]; g=gen(d,k); rs=0; rd=0; ra=0; again=0; goto k1 fi }
  :: atomic { nv>0 && (IX(0)!=0 || us[0]==KEPT) -> nv--; u=0; busy[n]=busy[n]|1; goto v0 }
  :: atomic { nv>0 && (IX(1)!=0 || us[1]==KEPT) -> nv--; u=1; busy[n]=busy[n]|1; goto v0 }
  od;
k1: if /* PUT o create-only; 412 is fine */
    :: atomic { O(d,g)=1; w=1; goto k2 }
#ifndef FINAL
    :: atomic { LATE -> nl--; lateT=1; la=d; lb=g; if :: goto k1 :: RK; goto endK fi } /* lost or late: tried again, or given up with 503 */
#endif
    fi;
k2: if /* PUT u create-only */
    :: atomic { us[u]==ABS -> WR; MINE; goto k3 }
    :: atomic { us[u]==ABS && nl>0 -> nl--; WR; goto k2r } /* done, answer lost */
    :: atomic { us[u]==ABS && LATE -> nl--; lateT=2; la=u; lb=d; lc=k; goto k2r } /* late */
    :: atomic { us[u]!=ABS -> goto k2r }
    fi;
k2r: atomic { rs=us[u]; rd=ud[u]; ra=ua[u];  /* GET u */
    if :: rs==ABS -> rs=0; rd=0; ra=0; if :: goto k2
#ifndef FINAL
       :: RK; goto endK
#endif
       fi
       :: rs==KEPT && ra>applied[n] -> goto k2p
       :: rs==KEPT && ra<=applied[n] && !dead(u,rd,ra,applied[n]) -> goto k3  /* adopt */
       :: rs==KEPT && ra<=applied[n] && dead(u,rd,ra,applied[n]) -> 
          if :: dead(u,rd,ra,k) -> goto k2m :: else -> goto k0 fi  /* k is old: start again */
    fi };
k2p: atomic { if :: applied[n]<head -> apply(n,applied[n]+1) :: else fi; /* the record knows more than I do */
    if :: ra>applied[n] -> goto k2p :: else -> goto k0 fi };
k2m: if /* PUT u If-Match the dead record */
    :: atomic { match(u) -> WR; MINE; goto k3 }
    :: atomic { match(u) && nl>0 -> nl--; WR; goto k2r }
    :: atomic { match(u) && LATE -> nl--; lateT=3; la=u; lb=d; lc=k; ls=rs; ld2=rd; la2=ra; goto k2r }
    :: atomic { !match(u) -> goto k2r }
    fi;
k3: if /* read the log to its head */
    :: atomic { applied[n]<head -> apply(n,applied[n]+1); goto k3 }
    :: atomic { applied[n]==head ->     /* 404: the moment of the answer */
         if :: !im && blocked(u,rd,applied[n]) -> again=9
            :: dead(u,rd,ra,applied[n]) && (im || !blocked(u,rd,applied[n])) -> again=1
            :: !dead(u,rd,ra,applied[n]) && im && blocked(u,rd,applied[n]) -> again=0 /* kept, and shown to nobody */
            :: !dead(u,rd,ra,applied[n]) && !blocked(u,rd,applied[n]) -> ghost_show(u,rd); again=0 fi }
    fi;
    if
    :: atomic { again==0 -> insert(n,u,rd,ra);
#ifndef NOCLEAN
       /* also where another's record was adopted: the own bytes are nobody's then */
       if :: w && g<gen(d,applied[n]) -> O(d,g)=0; INV :: else fi;
#endif
       RK; goto endK }
    :: atomic { again!=0 -> 
          goto k0 }
    fi;
v0: if /* a view */
    :: atomic { IX(u)!=0 && !blocked(u,IX(u)-1,applied[n]) ->
        if :: applied[n]==head -> ghost_show(u,IX(u)-1) :: else fi;
        /* the local file may be evicted: GET o by the name as of the record's at */
        if :: !O(IX(u)-1,gen(IX(u)-1,IA(u))) -> assert(dead(u,IX(u)-1,IA(u),head)) :: else fi;
        RK; goto endK }
    :: atomic { IX(u)==0 && us[u]==KEPT -> rs=us[u]; rd=ud[u]; ra=ua[u]; goto v1 }
    :: atomic { (IX(u)==0 && us[u]!=KEPT) || (IX(u)!=0 && blocked(u,IX(u)-1,applied[n])) -> RK; goto endK }
    fi;
v1: if :: atomic { ra>applied[n] && applied[n]<head -> apply(n,applied[n]+1); goto v1 }
       :: atomic { ra<=applied[n] -> insert(n,u,rd,ra); rs=0; rd=0; ra=0; goto v0 }
    fi
  } unless { atomic { cr==1+2*n -> cr=0; RK; goto endK } }
}
#define APP head=pos; lk[pos]=kind; lt[pos]=t; lid[pos]=id; ghost_append(kind,t)
proctype Remover(byte n) { /* and the poller, and the one who finishes deletions */
  byte kind, t, pos, id;
endR: { do
  :: atomic { applied[n]<head -> apply(n,applied[n]+1); goto endR }
  :: atomic { pend[n]&2 -> t=1; busy[n]=busy[n]|2; goto fin1 }
  :: atomic { !(pend[n]&2) && pend[n]&4 -> t=2; busy[n]=busy[n]|2; goto fin1 }
  :: atomic { !(pend[n]&6) && pend[n]&8 -> t=3; busy[n]=busy[n]|2; goto fin1 }
  :: atomic { nr>0 && applied[n]<L -> nr--; busy[n]=busy[n]|2; id=nr+1;
#ifdef T0
       t=0;
#else
       if :: t=0 :: t=1 fi;
#endif
#ifdef KIND
       kind=KIND;
#else
       if :: kind=BU :: kind=BD :: kind=PD :: kind=FU :: kind=UU :: kind=UD fi;
#endif
r1:    pos=applied[n]+1; goto r1p }
  od;
fin1: atomic { /* DELETE o under the name before the entry */
        if :: lt[t]==0 -> O(0,gen(0,t-1))=0 :: else -> O(1,gen(1,t-1))=0 fi; INV };
    atomic { pend[n] = pend[n] & (15-(1<<t)); RR; goto endR };
r1p: if
    :: atomic { head+1==pos && pos<=L -> APP; goto r2 }
    :: atomic { head+1==pos && pos<=L && nl>0 -> nl--; APP; goto r1r }
    :: atomic { head+1==pos && pos<=L && LATE -> nl--; lateT=4; la=pos; lb=kind; lc=t; ls=id; goto r1r }
    :: atomic { head>=pos -> goto r1r }
    :: atomic { pos>L -> RR; goto endR }
    fi;
r1r: atomic { /* GET log/pos */
    if :: head<pos -> if :: goto r1p :: RR; goto endR fi
       :: head>=pos && lid[pos]==id -> goto r2
       :: head>=pos && lid[pos]!=id -> 
          if :: applied[n]<pos -> apply(n,applied[n]+1) :: else fi; goto r1
    fi };
r2: if :: atomic { applied[n]<pos -> apply(n,applied[n]+1); goto r2 }
       :: atomic { applied[n]>=pos && !(pend[n]&(1<<pos)) -> RR; goto endR } /* ACK */
       :: atomic { applied[n]>=pos && pend[n]&(1<<pos) -> O(t,gen(t,pos-1))=0; INV; goto r3 }
       :: atomic { applied[n]>=pos && pend[n]&(1<<pos) && LATE -> nl--; lateT=5; la=t; lb=gen(t,pos-1); if :: goto r2 :: RR; goto endR fi }
    fi;
r3: atomic { pend[n]=pend[n]&(15-(1<<pos)); RR; goto endR } /* ACK */
  } unless { atomic { cr==2+2*n -> cr=0; RR; goto endR } }
}
proctype Net() { /* what was under way arrives */
endN: do
  :: d_step { lateT==1 -> O(la,lb)=1; lateT=0; la=0; lb=0 }
  :: d_step { lateT==2 -> if :: us[la]==ABS -> us[la]=KEPT; ud[la]=lb; ua[la]=lc; INV :: else fi; lateT=0; la=0; lb=0; lc=0 }
  :: d_step { lateT==3 -> if :: us[la]==ls && ud[la]==ld2 && ua[la]==la2 -> us[la]=KEPT; ud[la]=lb; ua[la]=lc; INV :: else fi; lateT=0; la=0; lb=0; lc=0; ls=0; ld2=0; la2=0 }
  :: d_step { lateT==4 -> if :: head+1==la -> head=la; lk[la]=lb; lt[la]=lc; lid[la]=ls; ghost_append(lb,lc) :: else fi; lateT=0; la=0; lb=0; lc=0; ls=0 }
  :: d_step { lateT==5 -> O(la,lb)=0; INV; lateT=0; la=0; lb=0 }
  :: d_step { lateT!=0 -> lateT=0; la=0; lb=0; lc=0; ls=0; ld2=0; la2=0 } /* or never */
  od
}
proctype Crasher() { /* a worker in the midst of something loses its volatile state; a node's crash is two of these */
endC: do
#ifndef FINAL
  :: atomic { nc>0 && cr==0 && busy[0]&1 -> nc--; cr=1 }
  :: atomic { nc>0 && cr==0 && busy[1]&1 -> nc--; cr=3 }
#endif
  :: atomic { nc>0 && cr==0 && busy[0]&2 -> nc--; cr=2 }
  :: atomic { nc>0 && cr==0 && busy[1]&2 -> nc--; cr=4 }
#if NN>2
  :: atomic { nc>0 && cr==0 && busy[2]&2 -> nc--; cr=6 }
#endif
  od
}
#define quiet(i) (applied[i]==head && pend[i]==0 && busy[i]==0)
#define clean(dd) ((gen(dd,head)<=0 || !O(dd,0)) && (gen(dd,head)<=1 || !O(dd,1)) && (gen(dd,head)<=2 || !O(dd,2)))
init { byte i;
  atomic { 
#if NN>2
   run Keeper(2); run Remover(2);
#endif
   run Keeper(0); run Remover(0); run Keeper(1); run Remover(1); run Net(); run Crasher() };
#ifdef FINAL
  /* (4),(7): all nodes at the head and idle: no bytes are left under a name that the log has killed */
  atomic { nk==0 && nr==0 && lateT==0 && quiet(0) && quiet(1)
#if NN>2
   && quiet(2)
#endif
   -> assert(clean(0) && clean(1)) }
#endif
}
