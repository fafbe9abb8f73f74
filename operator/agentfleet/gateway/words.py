"""Ready-made words of common intents, in several languages. Data.

An intent of a route that has one of these names, and no keywords of its own, gets these. The words
are looked for by intents.py: inflected forms of words with spaces between them are found too, other scripts are
searched as they are. Order counts: the first intent with a word in the request is chosen, so that those with the more
telling words come first ("document this function" is documentation, "a meeting about the refund" scheduling).
"""

from collections.abc import Mapping

from agentfleet.gateway.words_hints import HINTS, listed

PRESETS: Mapping[str, tuple[str, ...]] = {
    "documentation": listed("""
        meeting notes, meeting minutes, minutes of, appendix, write-up, file format, release notes,
        documentation, document this, document the, docs, readme, manual, handbook, user guide, guide, runbook,
        changelog, release note, docstring, tutorial, instructions, reference, help centre, help center,
        knowledge base, onboarding, white paper, api documentation, 文档, 手册, 说明书, 使用说明, 安装说明, 教程,
        文件, 指南, 更新日志, dokumentasi, panduan, arahan pemasangan, arahan penggunaan, buku panduan, petunjuk,
        documentación, manual de instrucciones, guía, instrucciones, dokumentation, handbuch, anleitung,
        bedienungsanleitung, mode d'emploi, guide d'utilisation, notice, documentação, マニュアル, ドキュメント,
        説明書, 手順書, दस्तावेज़, मैनुअल, ஆவணம், คู่มือ, tài liệu, hướng dẫn
    """),
    "scheduling": listed("""
        request a callback, appointments, rain check, time slot, shift swap, day off, double-booked, schedule,
        reschedule, appointment, calendar, remind, reminder, alarm, meeting, stand-up, slot, diary, agenda,
        timetable, rota, roster, call me back, book a table, book a slot, book a room, check-up, o'clock,
        availability, interviews, workshop, shift plan, technician to come, free at noon, time zone,
        next available, postpone, 预约, 会议, 提醒, 日程, 安排, 闹钟, 改到, 日历, 排班, temu janji, mesyuarat,
        ingatkan, jadual, jadwal, jadwalkan, rapat, janji temu, aturkan, tempah, tempahan masa, perbincangan,
        peringatan, cita, reunión, recuérdame, calendario, termin, besprechung, erinnere, kalender, rendez-vous,
        réunion, rappelle-moi, calendrier, reunião, marcar, lembre-me, 予約, 会議, 予定, リマインド, अपॉइंटमेंट,
        मीटिंग, बैठक, याद दिला, சந்திப்பு, கூட்டம், นัด, ประชุม, đặt lịch, cuộc họp, nhắc tôi
    """),
    "code": listed("""
        select * from, sql query, stack overflow, postgresql, mysql, mongodb, redis, vim, kotlin, typescript,
        node.js, npm, re-render, async, type hint, linked list, binary search, binary tree, off by one,
        memory leak, hash map, merge conflict, segfault, null pointer, for-each, terraform, code, coding,
        program, programming, programmer, debug, function, script, compiler, compile, python, javascript, java,
        golang, rust, c++, c#, sql, php, regex, regular expression, algorithm, git, github, docker, dockerfile,
        pytest, unit test, refactor, pull request, stack trace, traceback, exception, segmentation fault,
        typeerror, indexerror, keyerror, valueerror, syntaxerror, nullpointerexception, undefined is not,
        recursion, recursive, for loop, this loop, list comprehension, snippet, react, flask, django, bash,
        powershell, race condition, deadlock, lock-free, pointer, variable, database schema, string in go, crud,
        event sourcing, in go, data structure, sharding, 代码, 函数, 编程, 程序, 正则, 调试, 数据库结构, 字符串,
        算法, 编译, 多线程, 脚本, kod, kode, fungsi, pengaturcaraan, pemrograman, pepijat, pangkalan data,
        gelung, skrip, código, función, programa, programación, funktion, programmieren, quellcode, fonction,
        programmation, função, コード, 関数, プログラム, プログラミング, फ़ंक्शन, कोड, प्रोग्राम, குறியீடு,
        நிரல், โค้ด, ฟังก์ชัน, lập trình, hàm
    """),
    "analysis": listed("""
        stands out, as far as we know, best value, which of these, base case, market size, root cause, analysis,
        analyse, analyze, research, investigate, evaluate, assess, compare, comparison, pros and cons, trend,
        competitor, survey, hypothesis, hypotheses, forecast, study, studies, evidence, overview of, median,
        correlation, statistics, what caused, what drives, summarise, summarize, break down, assessment,
        conversion rate, which of the three, cash flow, critically, pay gap, market share, data set, 分析, 研究,
        比较, 评估, 趋势, 总结, 优势, 市场, analisis, kaji, kajian, bandingkan, kesan, kebaikan dan keburukan,
        dampak, menilai, nilai kekuatan, riset, penelitian, analiza, análisis, investiga, compara, evalúa,
        impacto, analysiere, vergleiche, untersuche, vor- und nachteile, évalue, avantages, recherche, analise,
        分析して, 比較, 評価, 調査, विश्लेषण, तुलना, பகுப்பாய்வு, ஒப்பிடு, วิเคราะห์, เปรียบเทียบ, phân tích,
        so sánh
    """),
    "technical-support": listed("""
        disk full, disk is full, won't start, doesn't start, does not start, won't open, won't load, blue screen,
        white page, blank page, error message, video call, no signal, keeps crashing, error, crash, freeze,
        frozen, wifi, wi-fi, router, printer, scanner, password, log in, login, sign in, bluetooth, vpn,
        new driver, graphics driver, update the driver, keyboard, reset, restart, reboot, not working,
        stopped working, turn on, can't connect, cannot connect, network, connection, offline, internet, server,
        troubleshoot, error code, laptop, tablet, cannot reach, can't reach, storage is full, locked, unlock,
        backup, dns, firmware, outlook, touch screen, pages load, installed, install, unplug, washing machine,
        打印机, 路由器, 断网, 开不了机, 重启, 密码, 错误代码, 蓝牙, 充不进电, 连不上, 安装软件, 黑屏, 死机, 内网,
        网络, 屏幕, tak boleh guna, rosak, pencetak, penghala, kata laluan, skrin, cas, komputer riba, perlahan,
        aplikasi, ralat, tidak dapat dikesan, tidak berfungsi, tidak bisa menyala, rusak, lambat, no funciona,
        bloqueada, ordenador, pantalla, impresora, contraseña, drucker, funktioniert nicht, startet nicht,
        startet das programm, passwort, bildschirm, absturz, écran, imprimante, ne marche pas, ne fonctionne pas,
        mot de passe, connexion, não liga, não funciona, computador, 電源, パソコン, アプリ, 起動, 動かない,
        エラー, 接続, つながらない, काम नहीं कर, वाई-फाई, फ़ोन, पासवर्ड, इंटरनेट, வேலை செய்யவில்லை, இணைய,
        கடவுச்சொல், ใช้งานไม่ได้, อินเทอร์เน็ต, เสีย, không kết nối, bị lỗi, máy in, mật khẩu
    """),
    "customer-service": listed("""
        my package, my parcel, my order, my ticket, price match, resend, receipt, under warranty, my statement,
        overcharged, double charged, charged me, took from my account, track my, customer care, refund,
        money back, parcel, delivery, shipping, ship to, invoice, billed, charged, payment, subscription, order,
        ordered, my account, account number, discount, voucher, voucher code, promo code, coupon, complaint,
        customer service, in stock, cancelled my, speak to a human, return window, exchange, replacement,
        courier, upgrade my plan, your plans, policies with you, charge card, checkout, loyalty, gift card,
        membership, real person, my card, 退款, 退货, 订单, 快递, 发货, 发票, 投诉, 运费, 客服, 补发, 换货, 到账,
        优惠, pesanan, bayaran balik, pulangkan wang, penghantaran, resit, aduan, bungkusan, batalkan, bayar,
        akaun saya, tukar dengan, barang, pengembalian, mengembalikan, kembalikan, pelanggan, pedido, reembolso,
        devolver, devuelvan, suscripción, factura, cobrado, envío, paket, rechnung, erstattung, zurückgeben,
        geld zurück, bestellung, lieferung, gekündigt, kündigen, commande, colis, rembours, remboursée,
        remboursement, facture, livraison, encomenda, 返品, 返金, 注文, 届き, 請求, ऑर्डर, पैसे वापस, रिफंड,
        ஆர்டர், பணம் திரும்ப, คืนเงิน, สั่งซื้อ, hoàn tiền, đơn hàng, giao hàng
    """),
}
"""Intent → its words."""

UNMEANT = listed("""
        in order to, command line, in order, in which order, order of, in what order, code of conduct,
        dress code, zip code, postal code, area code, bar code, morse code, good morning, good afternoon,
        good evening, wake up call, point of order, alphabetical order
""")
"""Phrases that hold such a word and are not about it."""

ALIASES: Mapping[str, str] = {
    "coding": "code",
    "programming": "code",
    "research": "analysis",
    "docs": "documentation",
    "appointments": "scheduling",
    "support": "customer-service",
    "technical": "technical-support",
}
"""Other names of presets."""


def preset(name: str) -> tuple[str, ...]:
    """The ready-made words of an intent with this name; none for a name that is not known."""
    return PRESETS.get(_known(name), ())


def hints(name: str) -> tuple[str, ...]:
    """The weaker words of such an intent."""
    return HINTS.get(_known(name), ())


def _known(name: str) -> str:
    folded = name.lower().replace("_", "-")
    return ALIASES.get(folded, folded)
