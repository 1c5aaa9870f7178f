;; 64 bits: paddd xmm0, xmm1; movaps [rbx], xmm0; hlt
;; 71 instructions
;;    26 local.get
;;     9 local.set
;;     4 i32.const
;;     4 i64.store
;;     3 f64.load
;;     3 i64.load
;;     2 block
;;     2 f64.add
;;     2 f64.store
;;     2 if
;;     1 br
;;     1 f64.const
;;     1 f64.convert_i32_u
;;     1 f64.ge
;;     1 f64.min
;;     1 global.get
;;     1 global.set
;;     1 i32.eqz
;;     1 i32.load
;;     1 i32.store
;;     1 i32.sub
;;     1 i64.const
;;     1 local.tee
;;     1 return
  (func (;1;) (type 0) (param i32) (result i32)
    (local i64 i64 i64 i64 i32 i32 i32 i32 f64 f64)
    global.get 0
    i32.const 1
    i32.sub
    local.tee 6
    global.set 0
    local.get 6
    i32.eqz
    if  ;; label = @1
      i32.const 5
      return
    end
    local.get 0
    i64.load offset=152 align=1
    local.set 2
    local.get 0
    i64.load offset=160 align=1
    local.set 3
    local.get 0
    i64.load offset=168 align=1
    local.set 4
    local.get 0
    i32.load offset=144 align=1
    local.set 6
    local.get 0
    f64.load offset=1024 align=1
    local.set 9
    local.get 9
    f64.const 0x1.86ap+17 (;=200000;)
    f64.add
    local.get 0
    f64.load offset=1032 align=1
    f64.min
    local.set 10
    block  ;; label = @1
      block  ;; label = @2
        i64.const 4096
        local.set 1
        i32.const 2
        local.set 5
        br 1 (;@1;)
      end
      local.get 9
      local.get 10
      f64.ge
      if  ;; label = @2
        i32.const 1
        local.set 5
      end
    end
    local.get 0
    local.get 2
    i64.store offset=152 align=1
    local.get 0
    local.get 3
    i64.store offset=160 align=1
    local.get 0
    local.get 4
    i64.store offset=168 align=1
    local.get 0
    local.get 6
    i32.store offset=144 align=1
    local.get 0
    local.get 9
    f64.store offset=1024 align=1
    local.get 0
    local.get 1
    i64.store offset=128 align=1
    local.get 0
    local.get 0
    f64.load offset=1040 align=1
    local.get 7
    f64.convert_i32_u
    f64.add
    f64.store offset=1040 align=1
    local.get 5)
